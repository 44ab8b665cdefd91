"""Runs one test module as ``__main__`` and records the result of each test.

    python child.py RESULTS MODULE

Each step appends a line of JSON to the file RESULTS, so that the file shows how far a module got
before it hung or crashed.
"""

import json
import os
import runpy
import signal
import sys
import unittest

results, module = sys.argv[1:]
# A shell that runs this in the background ignores SIGINT, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
pid = os.getpid()
log = os.open(results, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
# A high number, since some tests look at the lowest descriptors.
os.dup2(log, 900, inheritable=False)
os.close(log)


def write(test, what):
    if os.getpid() == pid:
        os.write(900, json.dumps([test, what]).encode() + b"\n")


class Recorder(unittest.TextTestResult):
    def startTest(self, test):
        write(test.id(), "started")
        super().startTest(test)

    def addSuccess(self, test):
        write(test.id(), "passed")
        super().addSuccess(test)

    def addSkip(self, test, reason):
        write(test.id(), "skipped")
        super().addSkip(test, reason)

    def addFailure(self, test, err):
        write(test.id(), "failed")
        super().addFailure(test, err)

    def addError(self, test, err):
        write(test.id(), "failed")
        super().addError(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            write(test.id(), "failed")
        super().addSubTest(test, subtest, err)

    def addExpectedFailure(self, test, err):
        write(test.id(), "expected failure")
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test):
        write(test.id(), "failed")
        super().addUnexpectedSuccess(test)


unittest.TextTestRunner.resultclass = Recorder
sys.argv = [module]
sys.path[0] = os.getcwd()
runpy._run_module_as_main(module)

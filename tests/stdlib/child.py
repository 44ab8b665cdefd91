"""child.py MODULE RECORD plain|patched LIMIT RESOURCES [SKIPPED...]: run one module's tests.

RECORD gets a line of JSON when a test begins and one when it ends, so that a crash or a hang leaves
the results so far. A test that takes LIMIT seconds ends the process, with the stacks on stderr.
RESOURCES, separated by commas, are those that tests may use in addition to loopback and a little
time. SKIPPED are the ids of tests that do not run.
"""

import faulthandler
import json
import sys
import unittest

OK, SKIPPED = "ok", "skipped"


class Recorder(unittest.TestResult):
    """Records how each test ended: "ok", "skipped", or an error text."""

    def __init__(self, record, limit, skipped):
        super().__init__()
        self.record, self.limit, self.skipped = record, limit, skipped
        self.outcome = None

    def write(self, **line):
        print(json.dumps(line), file=self.record, flush=True)

    def startTest(self, test):
        super().startTest(test)
        self.outcome = OK
        self.write(begin=test.id())
        faulthandler.dump_traceback_later(self.limit, exit=True, file=sys.__stderr__)

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        self.write(end=test.id(), outcome=self.outcome)
        super().stopTest(test)

    def failed(self, test, error):
        text = self._exc_info_to_string(error, test)
        self.outcome = text
        if not isinstance(test, unittest.TestCase):  # setUpClass, setUpModule
            self.write(end=test.id(), outcome=text)

    def addError(self, test, err):
        self.failed(test, err)

    def addFailure(self, test, err):
        self.failed(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.failed(test, err)

    def addSkip(self, test, reason):
        if self.outcome in (None, OK):
            self.outcome = SKIPPED

    def addExpectedFailure(self, test, err):
        pass

    def addUnexpectedSuccess(self, test):
        self.outcome = "unexpected success"


def leave_out(suite, skipped):
    """Return the suite without the tests whose ids are in *skipped*."""
    kept = suite.__class__()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(leave_out(test, skipped))
        elif test.id() not in skipped:
            kept.addTest(test)
    return kept


def main(module, record, mode, limit, resources, *skipped):
    if mode == "patched":
        from treadle import get_hub, monkey

        monkey.patch_all()
        get_hub()  # now, so that the hub's descriptors leave no gap between those of tests
    import test.support

    test.support.use_resources = resources.split(",")
    suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
    with open(record, "a") as file:
        leave_out(suite, set(skipped)).run(Recorder(file, float(limit), set(skipped)))
        print(json.dumps({"done": True}), file=file)


if __name__ == "__main__":
    main(*sys.argv[1:])

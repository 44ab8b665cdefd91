"""What treadle.subprocess takes over from subprocess. Written by `python -m conformance.mirrors`."""

from subprocess import (
    CalledProcessError as CalledProcessError,
    CompletedProcess as CompletedProcess,
    DEVNULL as DEVNULL,
    PIPE as PIPE,
    STDOUT as STDOUT,
    SubprocessError as SubprocessError,
    TimeoutExpired as TimeoutExpired,
    call as call,
    check_call as check_call,
    check_output as check_output,
    getoutput as getoutput,
    getstatusoutput as getstatusoutput,
    list2cmdline as list2cmdline,
    run as run,
)

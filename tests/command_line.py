"""The command line as an operator meets it: arguments in; exit status, output and errors out."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from fraudguard.cli import main


@dataclass
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class CommandLine:
    """Runs commands against one configuration, in this process: what main() does is what the script does."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def __call__(self, *arguments: object, status: int | None = 0) -> Result:
        out, err = io.StringIO(), io.StringIO()
        argv, sys.argv = sys.argv, ["fraudguard", "--config", str(self.config), *map(str, arguments)]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main()
        except SystemExit as end:
            result = Result(end.code or 0, out.getvalue(), err.getvalue())
        finally:
            sys.argv = argv
        assert status is None or result.status == status, (arguments, result)
        return result

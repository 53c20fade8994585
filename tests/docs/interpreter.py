"""A Python that runs one block after the other in one namespace. JSON lines go in and out."""

import json
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO


def main() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for line in sys.stdin:
        block = json.loads(line)
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            try:
                exec(compile("\n" * (block["line"] - 1) + block["text"], block["page"], "exec"), names)
                failed = ""
            except BaseException:
                failed = traceback.format_exc()
        print(json.dumps({"said": said.getvalue(), "failed": failed}), file=sys.__stdout__, flush=True)


main()

import json

import pytest

from effsearch.cli import main


@pytest.fixture
def effsearch(capsys, tmp_path, monkeypatch):
    """Run the command line; return exit status, stdout (parsed with --json) and stderr."""
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path / "home"))

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code, json.loads(out) if "--json" in arguments and out else out, err

    return run

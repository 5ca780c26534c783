"""Starts a relay on a port of the system's choice, and holds it against its own description.

    RESTANTE=path/to/restante python drive.py CASES SEED

CASES is how many requests schemathesis makes up for each operation, beyond those that it takes from the schema's borders.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
# From one machine comes what else comes from many; what counts by time has tests of its own.
NO_RATES = {"RESTANTE_LIMITS__DEVICE_REQUESTS_PER_MIN": "0", "RESTANTE_LIMITS__TOKEN_SENDS_PER_MIN": "0"}


def main(cases, seed):
    with tempfile.TemporaryDirectory(prefix="restante-openapi-") as home:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESTANTE", "XDG_", "SCHEMATHESIS"))}
        kept |= {"HOME": home, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "python")])}
        serve = [os.environ["RESTANTE"], "serve", "--listen", "127.0.0.1:0", "--data", f"{home}/data", "--json"]
        with open(f"{home}/relay.log", "w") as log:
            relay = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=log, text=True, cwd=home, env=kept | NO_RATES)
        try:
            line = relay.stdout.readline()
            if not line:
                raise SystemExit(f"the relay did not start: {Path(log.name).read_text()}")
            origin = json.loads(line)["listening"]
            # From a file: of what it fetches itself schemathesis leaves the address out.
            with urllib.request.urlopen(f"{origin}/v1/openapi.yaml") as reply:
                Path(home, "openapi.yaml").write_bytes(reply.read())
            environment = kept | {"RESTANTE_ORIGIN": origin, "SCHEMATHESIS_HOOKS": "hooks"}
            subprocess.run([sys.executable, str(HERE / "walk.py")], check=True, cwd=home, env=environment)
            # It warns of signatures that it cannot make and of operations without links.
            run = ["run", "openapi.yaml", "--url", origin, "--max-examples", cases, "--seed", seed, "--warnings", "off"]
            command = [str(Path(sys.executable).parent / "st"), "--config-file", str(HERE / "schemathesis.toml"), *run]
            ended = subprocess.run(command, cwd=home, env=environment).returncode
        finally:
            relay.terminate()
            code = relay.wait(60)
        if code or "panicked" in Path(log.name).read_text():
            raise SystemExit(f"the relay ended with {code}: {Path(log.name).read_text()[-4000:]}")
        return ended


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Runs a command while moto plays S3: MOTO_ADDRESS tells the command where."""

import logging
import os
import subprocess
import sys

from moto.server import ThreadedMotoServer


def main() -> int:
    # A line for every request says nothing to who reads test results.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # moto looks whether an object exists, then writes it: threads must not change in between.
    sys.setswitchinterval(1.0)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        return subprocess.run(sys.argv[1:], env={**os.environ, "MOTO_ADDRESS": f"{host}:{port}"}).returncode
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())

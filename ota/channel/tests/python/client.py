"""Fetches a target with python-tuf: client.py REPOSITORY DIRECTORY TARGET, the repository served over HTTP as any static
web server does it."""

import functools
import http.server
import pathlib
import sys
import threading

from tuf.ngclient import Updater


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


repository, directory, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(repository)))
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"

directory.mkdir(exist_ok=True)
(directory / "metadata").mkdir(exist_ok=True)
(directory / "targets").mkdir(exist_ok=True)
updater = Updater(
    metadata_dir=str(directory / "metadata"),
    metadata_base_url=f"{base}/metadata/",
    target_dir=str(directory / "targets"),
    target_base_url=f"{base}/targets/",
    bootstrap=(repository / "metadata" / "1.root.json").read_bytes(),
)
updater.refresh()
info = updater.get_targetinfo(target)
if info is None:
    sys.exit(f"{target} is not listed")
print(updater.download_target(info))

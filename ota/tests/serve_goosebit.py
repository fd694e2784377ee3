"""gooseBit on a free port of 127.0.0.1, with a descriptor as its one software. Prints its port.

gooseBit looks into what is uploaded and takes SWUpdate's and RAUC's bundles alone; so the row is made by its own models. All else
(user, device, rollout) is asked of its API by the test.
"""

import asyncio
import hashlib
import os
import pathlib
import socket
import sys

directory = pathlib.Path(sys.argv[1])
os.environ["GOOSEBIT_DB_URI"] = f"sqlite://{directory}/goosebit.sqlite3"
os.environ["GOOSEBIT_ARTIFACTS_DIR"] = str(directory / "artifacts")
os.environ["GOOSEBIT_POLL_TIME"] = "00:00:01"
os.environ["GOOSEBIT_DEVICE_AUTH__ENABLE"] = "true"
os.environ["GOOSEBIT_DEVICE_AUTH__MODE"] = "strict"

import goosebit
import uvicorn
from goosebit.db.config import TORTOISE_CONF
from goosebit.db.models import Hardware, Software
from tortoise import Tortoise


async def prepare():
    await Tortoise.init(config=TORTOISE_CONF)
    await Tortoise.generate_schemas()
    file = directory / "sund-descriptor.json"
    content = file.read_bytes()
    software = await Software.create(
        uri=file.as_uri(), size=len(content), hash=hashlib.sha1(content).hexdigest(), version="1.0.0"
    )
    await software.compatibility.add((await Hardware.get_or_create(model="default", revision="default"))[0])
    await Tortoise.close_connections()


asyncio.run(prepare())
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(goosebit.app, log_level="warning")).run(sockets=[listener])

"""A C-STORE SCP that behaves as it is told; prints its port.

scp.py FOLDER [--status HEX] [--abort-after N] [--implicit] [--max-pdu N] [--tls AUTHORITY CERTIFICATE KEY]
"""

import argparse
import pathlib
import ssl
import sys

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--status", type=lambda text: int(text, 16), default=0)
parser.add_argument("--abort-after", type=int, default=-1)
parser.add_argument("--implicit", action="store_true")
parser.add_argument("--max-pdu", type=int, default=16382)
parser.add_argument("--tls", nargs=3)
options = parser.parse_args()
context = None
if options.tls:
    authority, certificate, key = options.tls
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
received = 0


def store(event):
    global received
    if received == options.abort_after:
        event.assoc.abort()
        return 0xC211
    received += 1
    (options.folder / f"{received}").write_bytes(event.request.DataSet.getvalue())
    return options.status


syntaxes = [ImplicitVRLittleEndian] if options.implicit else [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
ae = AE(ae_title="PEER")
ae.maximum_pdu_size = options.max_pdu
ae.require_called_aet = True
ae.add_supported_context(CTImageStorage, syntaxes)
ae.add_supported_context(Verification)
handlers = [(evt.EVT_C_STORE, store)]
server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context)
print(server.socket.getsockname()[1], flush=True)
sys.stdin.read()
server.shutdown()

"""A C-STORE and C-FIND SCP that behaves as it is told; prints its port.

scp.py FOLDER [--status HEX] [--abort-after N] [--implicit] [--max-pdu N] [--tls AUTHORITY CERTIFICATE KEY]
    [--matches JSON] [--find-status HEX] [--comment TEXT]

--matches: a list of matches to every query, each of them values by keyword.
"""

import argparse
import json
import pathlib
import ssl
import sys

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind, Verification

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--status", type=lambda text: int(text, 16), default=0)
parser.add_argument("--abort-after", type=int, default=-1)
parser.add_argument("--implicit", action="store_true")
parser.add_argument("--max-pdu", type=int, default=16382)
parser.add_argument("--tls", nargs=3)
parser.add_argument("--matches", type=json.loads)
parser.add_argument("--find-status", type=lambda text: int(text, 16), default=0)
parser.add_argument("--comment", default="")
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
def find(event):
    assert event.identifier.QueryRetrieveLevel == "STUDY" and event.identifier.StudyInstanceUID
    for values in options.matches:
        match = Dataset()
        match.QueryRetrieveLevel = "STUDY"
        match.StudyInstanceUID = event.identifier.StudyInstanceUID
        for keyword, value in values.items():
            setattr(match, keyword, value)
        yield 0xFF00, match
    if options.find_status:
        end = Dataset()
        end.Status = options.find_status
        end.ErrorComment = options.comment
        yield end, None


ae = AE(ae_title="PEER")
ae.maximum_pdu_size = options.max_pdu
ae.require_called_aet = True
ae.add_supported_context(CTImageStorage, syntaxes)
ae.add_supported_context(Verification)
handlers = [(evt.EVT_C_STORE, store)]
if options.matches is not None:
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    handlers.append((evt.EVT_C_FIND, find))
server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context)
print(server.socket.getsockname()[1], flush=True)
sys.stdin.read()
server.shutdown()

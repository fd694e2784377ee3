"""Sends files to a node with pynetdicom, their data sets byte for byte; prints the status of each.

scu.py PORT MAX_PDU FILE... [--tls AUTHORITY [CERTIFICATE KEY]]
"""

import argparse
import ssl

from pydicom import dcmread
from pynetdicom import AE, _config
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelMove, Verification

_config.STORE_SEND_CHUNKED_DATASET = True
parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("max_pdu", type=int)
parser.add_argument("files", nargs="*")
parser.add_argument("--tls", nargs="+")
options = parser.parse_args()
files = options.files
tls = None
if options.tls:
    authority, *ours = options.tls
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authority)
    if ours:
        context.load_cert_chain(*ours)
    tls = (context, "localhost")
ae = AE(ae_title="PYNETDICOM")
syntaxes = dict.fromkeys(dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID for file in files)
for syntax in syntaxes:
    ae.add_requested_context(CTImageStorage, syntax)
ae.add_requested_context(Verification)
ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
association = ae.associate(
    "127.0.0.1", options.port, ae_title="SUND_MR", max_pdu=options.max_pdu, tls_args=tls
)
assert association.is_established, "no association"
refused = [context.result for context in association.rejected_contexts]
assert refused == [3], f"abstract syntax not supported, and nothing else: {refused}"
assert association.send_c_echo().Status == 0
for file in files:
    print(f"{association.send_c_store(file).Status:04x}")
association.release()
assert association.is_released

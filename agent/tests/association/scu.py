"""Sends files to a node with pynetdicom, their data sets byte for byte; prints the status of each.

scu.py PORT MAX_PDU FILE...
"""

import sys

from pydicom import dcmread
from pynetdicom import AE, _config
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelMove, Verification

_config.STORE_SEND_CHUNKED_DATASET = True
port, max_pdu, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
ae = AE(ae_title="PYNETDICOM")
syntaxes = dict.fromkeys(dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID for file in files)
for syntax in syntaxes:
    ae.add_requested_context(CTImageStorage, syntax)
ae.add_requested_context(Verification)
ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
association = ae.associate("127.0.0.1", port, ae_title="SUND_MR", max_pdu=max_pdu)
assert association.is_established, "no association"
refused = [context.result for context in association.rejected_contexts]
assert refused == [3], f"abstract syntax not supported, and nothing else: {refused}"
assert association.send_c_echo().Status == 0
for file in files:
    print(f"{association.send_c_store(file).Status:04x}")
association.release()
assert association.is_released

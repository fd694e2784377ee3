"""The counter in a box's TPM, below which no recovery bundle is taken, for a machine that is off. A box makes its own (`sund-updater started`)."""
import socket
import struct
import subprocess

from .store import Failed

INDEX = 0x01800100
OWNER = 0x40000001
# TPMA_NV (TPM 2.0 Library, Part 2, 13.4): a counter, written by the owner, read by its own empty password, also when the TPM takes no
# more guesses: each start that does not end in order counts as one.
ATTRIBUTES = 1 << 25 | 1 << 18 | 1 << 1 | 1 << 4
# Commands (Part 2, 6.5.2) with how many bytes of their answer come before what is read.
DEFINE, INCREMENT, READ = 0x12A, 0x134, 0x14E
# TPM_RC_RETRY: not ready yet.
RETRY = 0x922


def define(state):
    """A new TPM gets its counter, which counts one then."""
    public = struct.pack(">IHIHH", INDEX, 0x0B, ATTRIBUTES, 0, 8)
    talk(state, (DEFINE, [OWNER], struct.pack(">HH", 0, len(public)) + public), (INCREMENT, [OWNER, INDEX], b""))


def count_up(state):
    """The number that it has then."""
    return talk(state, (INCREMENT, [OWNER, INDEX], b""), (READ, [INDEX, INDEX], struct.pack(">HH", 8, 0)))


def number(state):
    return talk(state, (READ, [INDEX, INDEX], struct.pack(">HH", 8, 0)))


def talk(state, *commands):
    """Has the TPM do commands while no machine is on; the number that the last one reads."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        emulator = subprocess.Popen(["swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate", f"dir={state}",
                                     "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            answers = [asked(ours, *command) for command in commands]
        finally:
            emulator.terminate()
            emulator.wait()
    return int.from_bytes(answers[-1][16:24], "big")


def asked(connection, code, handles, parameters):
    """The answer to a command whose first handle is authorized by an empty password."""
    body = struct.pack(f">{len(handles)}I", *handles) + struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0) + parameters
    connection.settimeout(60)
    said = RETRY
    while said == RETRY:
        connection.sendall(struct.pack(">HII", 0x8002, 10 + len(body), code) + body)
        answer = connection.recv(4096)
        said = int.from_bytes(answer[6:10], "big")
    if said:
        raise Failed(f"the TPM answers command {code:#x} with {said:#x}")
    return answer

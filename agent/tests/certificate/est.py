"""A small EST server (RFC 7030): its authority is OpenSSL's, its PKCS#7 too. Arguments: a folder with ca.pem, ca.key, server.pem,
server.key and issued/; days that its certificates hold. Prints its port. A file named `later` in the folder has it answer 202."""

import base64
import http.server
import os
import ssl
import subprocess
import sys

FOLDER, DAYS = sys.argv[1], sys.argv[2]


def path(name):
    return os.path.join(FOLDER, name)


def openssl(*arguments, given=None):
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True)
    return done.stdout


def pkcs7(pem):
    """RFC 7030 4.1.3, 4.2.3: certs-only, base64."""
    der = openssl("crl2pkcs7", "-nocrl", "-certfile", pem, "-outform", "DER")
    return base64.encodebytes(der)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if body:
            self.send_header("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
            self.send_header("Content-Transfer-Encoding", "base64")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/.well-known/est/cacerts":
            return self.answer(200, pkcs7(path("ca.pem")))
        return self.answer(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        peer = self.connection.getpeercert(binary_form=True)
        if self.path == "/.well-known/est/simpleenroll":
            expected = "Basic " + base64.b64encode(b"box:once").decode()
            if self.headers.get("Authorization") != expected:
                return self.answer(401, headers=[("WWW-Authenticate", "Basic")])
        elif self.path == "/.well-known/est/simplereenroll":
            if not peer:
                return self.answer(403)
        else:
            return self.answer(404)
        assert self.headers["Content-Type"] == "application/pkcs10"
        request = base64.b64decode(body)
        if os.path.exists(path("later")):
            return self.answer(202, headers=[("Retry-After", "5")])
        # The request proves that its sender has the key.
        openssl("req", "-inform", "DER", "-verify", "-noout", given=request)
        if peer:
            # RFC 7030 4.2.2: the subject stays.
            old = openssl("x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253", given=peer)
            new = openssl("req", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253", given=request)
            if old.replace(b" ", b"") != new.replace(b" ", b""):
                return self.answer(400, b"the subject differs")
        number = len(os.listdir(path("issued")))
        leaf = path(f"issued/{number}.pem")
        sign = ["x509", "-req", "-inform", "DER", "-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-CAcreateserial"]
        openssl(*sign, "-copy_extensions", "copy", "-days", DAYS, "-out", leaf, given=request)
        return self.answer(200, pkcs7(leaf))


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(path("server.pem"), path("server.key"))
context.load_verify_locations(path("ca.pem"))
context.verify_mode = ssl.CERT_OPTIONAL
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()

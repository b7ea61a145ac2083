"""An authority for certificates, as cert-manager's Issuer of kind `ca` is one."""

import subprocess


class Authority:
    def __init__(self, directory):
        directory.mkdir()
        self.key, self.certificate = directory / "ca.key", directory / "ca.crt"
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.key, "-out", self.certificate]
        openssl("req", "-x509", *made, "-subj", "/CN=accord", "-days", "2")

    def write(self, directory, common_name, names):
        """Writes tls.crt, tls.key and ca.crt for both sides of a connection; the key before the certificate that fits to it."""
        request, extensions = directory / "request", directory / "extensions"
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-new", *made, "-keyout", directory / "next.key", "-out", request, "-subj", f"/CN={common_name}")
        lines = ("subjectAltName=" + ",".join(f"URI:{name}" if "://" in name else f"DNS:{name}" for name in names), "extendedKeyUsage=serverAuth,clientAuth")
        extensions.write_text("\n".join(lines))
        signing = ["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", "2", "-extfile", extensions]
        openssl("x509", "-req", "-in", request, *signing, "-out", directory / "next.crt")
        for kind in ("key", "crt"):
            new, old = directory / f"next.{kind}", directory / f"tls.{kind}"
            if old.exists():
                # As the owner and the mode of a Secret's files were.
                new.chmod(old.stat().st_mode)
                subprocess.run(["chown", f"--reference={old}", new], check=True)
            new.rename(old)
        (directory / "ca.crt").write_bytes(self.certificate.read_bytes())
        for it in (request, extensions):
            it.unlink()


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)

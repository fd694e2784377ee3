"""Every test of this folder: `python -m evidence.tests` in image/, with what requirements.txt names."""
import unittest

from evidence.tests import assessments, licences, reproduce, sbom, versions, vulnerabilities

if __name__ == "__main__":
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(loader.loadTestsFromModule(module) for module in (versions, vulnerabilities, assessments, licences, sbom, reproduce))
    raise SystemExit(not unittest.TextTestRunner().run(suite).wasSuccessful())

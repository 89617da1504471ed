"""The emulated phone of the tests of devices."""

from tests.device.conftest import own_adb_server, phone

__all__ = ["own_adb_server", "phone"]

"""Every test: no X-Ray segments, as there is no Lambda around the code."""

import os

os.environ["AWS_XRAY_SDK_ENABLED"] = "false"

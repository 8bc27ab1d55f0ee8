"""Ask the address in HEALTH_URL; without one there is nothing to ask. 0 means all is well."""

import os
import sys
import urllib.error
import urllib.request

address = os.environ.get("HEALTH_URL", "")
if address:
    headers = {}
    if os.environ.get("REPLAY_TOKEN"):
        headers["Authorization"] = f"Bearer {os.environ['REPLAY_TOKEN']}"
    try:
        urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=4).close()
    except (OSError, ValueError) as error:
        sys.exit(f"not well: {type(error).__name__}")

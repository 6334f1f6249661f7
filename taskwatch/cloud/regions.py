"""Where the database service of a region is, when nobody says so: the patterns that public endpoint lists show.

A guess, to be tried before it is believed: Open Telekom Cloud lists no openGauss endpoint for some regions.
"""

import re
from typing import Final

# By the end of the identity service's host. In some regions Huawei Cloud has `gaussdb.` instead.
_PATTERNS: Final = (
    (".sc.otc.t-systems.com", "https://gaussdb.{region}.sc.otc.t-systems.com"),
    (".otc.t-systems.com", "https://gaussdb.{region}.otc.t-systems.com"),
    (".myhuaweicloud.com", "https://gaussdb-opengauss.{region}.myhuaweicloud.com"),
)
_REGION: Final = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+")


def region_of(project_name: str) -> str | None:
    """Return the region that a project lies in: its name begins with it, as `eu-de` or `eu-de_prod`."""
    region = project_name.partition("_")[0]
    return region if _REGION.fullmatch(region) else None


def usual_endpoint(auth_host: str, region: str) -> str | None:
    """Return where this cloud has the service in a region, by the pattern of its hosts; None for an unknown cloud."""
    return next(
        (pattern.format(region=region) for end, pattern in _PATTERNS if auth_host.endswith(end)), None
    )

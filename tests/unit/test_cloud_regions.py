"""Where the service of a region usually is: guessed by the patterns of public lists, and by nothing else."""

import pytest

from taskwatch.cloud.regions import region_of, usual_endpoint


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("eu-de", "eu-de"),
        ("eu-de_prod", "eu-de"),
        ("eu-de_prod_two", "eu-de"),
        ("cn-north-4_x", "cn-north-4"),
        ("MOS", None),
        ("prod", None),
        ("", None),
        ("_eu-de", None),
    ],
)
def test_the_region_is_what_the_name_of_a_project_begins_with(name: str, region: str | None) -> None:
    assert region_of(name) == region


@pytest.mark.parametrize(
    ("auth_host", "region", "endpoint"),
    [
        ("iam.eu-de.otc.t-systems.com", "eu-de", "https://gaussdb.eu-de.otc.t-systems.com"),
        ("iam-pub.eu-ch2.sc.otc.t-systems.com", "eu-ch2", "https://gaussdb.eu-ch2.sc.otc.t-systems.com"),
        ("iam.myhuaweicloud.com", "ap-southeast-1", "https://gaussdb-opengauss.ap-southeast-1.myhuaweicloud.com"),
        ("iam.example", "eu-de", None),
        ("otc.t-systems.com.example", "eu-de", None),
    ],
)  # fmt: skip
def test_an_unknown_cloud_has_no_usual_endpoint(auth_host: str, region: str, endpoint: str | None) -> None:
    assert usual_endpoint(auth_host, region) == endpoint

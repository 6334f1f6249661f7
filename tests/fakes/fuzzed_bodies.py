"""Answers of the tasks endpoint with a few bytes wrong."""

import random
from typing import Final

# Word for word the example of the service's documentation.
DOCUMENTED: Final = """\
{
  "tasks" : [ {
    "instance_info" : {
      "instance_id" : "ce2dce50f365430abe161bab79495a6ein14",
      "instance_name" : "gauss-6568-zzh",
      "instance_status" : "creating"
    },
    "job_id" : "03bc055a-135c-4245-8bd8-b0bc6d3350b3",
    "name" : "CreateGaussDBV5Instance",
    "status" : "Failed",
    "process" : null,
    "fail_reason" : "An exception occurs when the ECS processes services.",
    "created_at": "2022-08-05T08:15:07+0800",
    "ended_at": "2022-08-09T03:06:52+0800"
  }, {
    "instance_info" : {
      "instance_id" : "20ba433bd7ee40da9cf35064f04f9e4cin14",
      "instance_name" : "gauss-7875-lt-m",
      "instance_status" : "deleted"
    },
    "job_id" : "2cc16e0b-75ab-4a28-9453-16517e990bba",
    "name" : "DeleteGaussDBV5Instance",
    "status" : "Completed",
    "process" : null,
    "fail_reason" : null,
    "created_at": "2022-08-06T09:15:07+0800",
    "ended_at": "2022-08-10T03:06:52+0800"
  } ],
  "total_count" : 2
}
"""

_JUNK: Final = [
    b"",
    b"\x00",
    b"\xff",
    b'"',
    b"{",
    b"[",
    b"]",
    b"}",
    b",",
    b"\\ud800",
    b"1e999",
    b"NaN",
    b"null",
]


def fuzzed(rng: random.Random) -> bytes:
    """Return the documented example with one to four places overwritten."""
    body = bytearray(DOCUMENTED.encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        body[at : at + rng.choice([0, 1, 1, 5, 60])] = rng.choice([*_JUNK, bytes([rng.randrange(256)])])
    return bytes(body)

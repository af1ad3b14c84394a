"""Objects in a bucket: read in parts, written, listed and claimed, with every fault in words.

Only this folder knows the library that talks to the buckets; it is imported when a bucket is used.

Not here: what is done with the objects (`run`, `watch`).
"""

from pipeline.object_storage.bucket import Bucket, ObjectFacts, ObjectVersion, open_bucket
from pipeline.object_storage.claims import can_replace, check_claimable
from pipeline.object_storage.failures import ObjectStorageError
from pipeline.object_storage.transfer import FetchedObject, fetch, refused

__all__ = [
    "Bucket",
    "FetchedObject",
    "ObjectFacts",
    "ObjectStorageError",
    "ObjectVersion",
    "can_replace",
    "check_claimable",
    "fetch",
    "open_bucket",
    "refused",
]

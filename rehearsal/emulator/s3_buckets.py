"""S3 buckets in stacks: a bucket that is not empty cannot be deleted.

On AWS the deletion fails with BucketNotEmpty while a version or a delete marker is left (S3 user guide, "Deleting a
general purpose bucket"). MiniStack deletes the bucket with its objects.
"""

from __future__ import annotations

from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import Extensions, Json, ResourceHandler

TYPE = "AWS::S3::Bucket"


def refuse_unless_empty(bucket: str) -> None:
    """Check that a bucket is empty, as S3 does before it deletes one.

    Raises:
        ValueError: the bucket is not empty; the message is S3's.
    """
    s3 = root("s3")
    try:
        found = s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    except s3.exceptions.NoSuchBucket:
        return
    if found.get("Versions") or found.get("DeleteMarkers"):
        raise ValueError(
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket. "
            "(Service: S3, Status Code: 409, Error Code: BucketNotEmpty)"
        )


def keep_unless_empty(own: ResourceHandler) -> ResourceHandler:
    """Return MiniStack's handler with the check before its deletion."""

    def delete(physical_id: str, properties: Json) -> None:
        refuse_unless_empty(physical_id)
        own.delete(physical_id, properties)

    return ResourceHandler(own.create, own.update, delete)


def register(extensions: Extensions) -> None:
    """Check every bucket that a stack deletes."""
    extensions.wrap_resource(TYPE, keep_unless_empty)

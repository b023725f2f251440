"""S3 buckets in stacks: one that is not empty cannot be deleted.

CloudFormation's DeleteBucket fails with BucketNotEmpty while a version or a delete marker is left (S3 user guide,
"Deleting a general purpose bucket"); MiniStack would delete it with all that is in it.
"""

from __future__ import annotations

from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import Extensions, Json, ResourceHandler

TYPE = "AWS::S3::Bucket"


def refuse_unless_empty(bucket: str) -> None:
    """Do what S3 does before it deletes a bucket.

    Raises:
        ValueError: something is in it; the text is S3's.
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


def register(extensions: Extensions) -> None:
    """Put the check before MiniStack's deletion."""
    own = extensions.original_resource(TYPE)

    def delete(physical_id: str, properties: Json) -> None:
        refuse_unless_empty(physical_id)
        own.delete(physical_id, properties)

    extensions.add_resource(TYPE, ResourceHandler(own.create, own.update, delete))

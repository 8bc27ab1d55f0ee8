"""A bucket of S3, or of whatever speaks its language: list, look, put, get, remove.

Each object carries the SHA-256 of its content in its metadata. Writes are conditional: a new key
only where there is none, a change only of the version that was looked at. What goes wrong becomes
one sentence without a secret.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from engine.errors import EngineError, InputError
from engine.localfiles import Content

PART_BYTES = 16 << 20
"""Larger files go in parts of this size, or larger ones if there would be too many."""
PARTS_MAX = 9000
ATTEMPTS = 4
SECONDS_CONNECT, SECONDS_SILENCE = 10, 60
MARK = "sha256"
"""Name of the checksum in an object's metadata."""

CREDENTIALS = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401",
    "InvalidClientTokenId", "UnrecognizedClientException", "TokenRefreshRequired", "AuthFailure",
}  # fmt: skip
FORBIDDEN = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}
ELSEWHERE = {
    "PermanentRedirect",
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraint",
}
ABSENT = {"404", "NoSuchKey", "NotFound"}
REFUSED = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}


class Broken(EngineError):
    """Nothing more can be done with this bucket now: no way there, no right, no such bucket."""


class Overtaken(EngineError):
    """An object is not what it was when it was looked at: somebody else has written it."""


class Stopped(Exception):
    """Somebody wants an end."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object of the bucket.

    Parameters
    ----------
    size
        Bytes.
    etag
        What S3 calls this version of it.
    sha256
        Of its content, as far as it says so itself.
    """

    size: int
    etag: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Which bucket, and where in it.

    Parameters
    ----------
    bucket, prefix, endpoint
        As the user gave them; without an endpoint it is AWS's own.
    region
        AWS's region, if it is not to be found out.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    @staticmethod
    def of(
        bucket: str | None, prefix: str | None, endpoint: str | None, region: str | None = None
    ) -> Destination:
        """Return a destination, if all that was given can be one.

        Raises
        ------
        InputError
            If it cannot.

        Examples
        --------
        >>> str(Destination.of("lake", "/team/a/", None))
        's3://lake/team/a/'
        >>> Destination.of("Lake", "", None)
        Traceback (most recent call last):
        engine.errors.InputError: --bucket Lake: a bucket's name has 3 to 63 of a-z, 0-9, - and .
        """
        if not bucket:
            message = "name the bucket, with --bucket, s3.bucket or DRIFTLINE_S3__BUCKET"
            raise InputError(message, "--bucket")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            message = "a bucket's name has 3 to 63 of a-z, 0-9, - and ."
            raise InputError(message, f"--bucket {bucket}")
        parts = [part for part in (prefix or "").split("/") if part]
        if {".", ".."} & set(parts) or any(ord(letter) < 32 for letter in prefix or ""):
            raise InputError("a prefix is made of plain names and /", f"--prefix {prefix!r}")
        if endpoint and (
            not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", endpoint) or "@" in endpoint
        ):
            message = "an endpoint is an address such as http://127.0.0.1:9000, without a password"
            raise InputError(message, "--endpoint")
        return Destination(bucket, "".join(f"{part}/" for part in parts), endpoint or None, region)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


class Bucket:
    """The objects below a destination; safe to use from several threads.

    Parameters
    ----------
    destination
        Which bucket.
    credentials
        Arguments of ``boto3.Session``; empty: it finds its own.
    threads
        How many will use it.
    stop
        Ends what takes long, with `Stopped`.
    """

    def __init__(
        self,
        destination: Destination,
        credentials: Mapping[str, str],
        threads: int,
        stop: threading.Event,
    ) -> None:
        import boto3
        from botocore.config import Config

        self.destination, self._stop = destination, stop
        self.conditional = True
        config = Config(
            max_pool_connections=threads,
            connect_timeout=SECONDS_CONNECT,
            read_timeout=SECONDS_SILENCE,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            request_checksum_calculation="when_required",  # others than AWS know no newer ones;
            response_checksum_validation="when_required",  # MD5 and SHA-256 see to it here
            s3={"addressing_style": "path"} if destination.endpoint else {},
        )
        with self._told("use"):
            self._client = boto3.Session(**credentials).client(
                "s3",
                endpoint_url=destination.endpoint,
                config=config,
                region_name=destination.region,
            )

    def list(self, folder: str) -> dict[str, Object]:
        """Return all objects of a folder, by path without the prefix."""
        found: dict[str, Object] = {}
        with self._told("list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.destination.bucket, Prefix=f"{self.destination.prefix}{folder}/"
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    path = entry["Key"][len(self.destination.prefix) :]
                    found[path] = Object(int(entry["Size"]), str(entry["ETag"]))
                if self._stop.is_set():
                    raise Stopped
        return found

    def look(self, path: str) -> Object | None:
        """Return what an object says about itself; None if there is none."""
        from botocore.exceptions import ClientError

        with self._told("read"):
            try:
                head = self._client.head_object(**self._named(path))
            except ClientError as error:
                if _code(error) in ABSENT:
                    return None
                raise
        said = head.get("Metadata", {}).get(MARK)
        return Object(int(head["ContentLength"]), str(head["ETag"]), said)

    def read(self, path: str, etag: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content of this version of an object, from a byte on."""
        span = {"Range": f"bytes={start}-"} if start else {}
        with self._told("read"):
            found = self._client.get_object(**self._named(path), IfMatch=etag, **span)
            with closing(found["Body"]) as body:
                for piece in body.iter_chunks(1 << 20):
                    if self._stop.is_set():
                        raise Stopped
                    yield piece

    def put(self, path: str, body: bytes, sha256: str, over: str | None) -> str:
        """Write a small object, over the version `over` (None: only if there is none)."""
        with self._told("write"):
            done = self._conditionally(
                self._client.put_object,
                path,
                over,
                Body=body,
                ContentMD5=_md5(body),
                Metadata={MARK: sha256},
            )
        return str(done["ETag"])

    def begin(self, path: str, sha256: str) -> str:
        """Begin an upload in parts; return its id."""
        with self._told("write"):
            begun = self._client.create_multipart_upload(
                **self._named(path), Metadata={MARK: sha256}
            )
        return str(begun["UploadId"])

    def parts(self, path: str, upload: str) -> dict[int, str] | None:
        """Return the ETags of the parts that are there, by number; None if the upload is gone."""
        from botocore.exceptions import ClientError

        with self._told("write"):
            pages = self._client.get_paginator("list_parts").paginate(
                **self._named(path), UploadId=upload
            )
            try:
                return {
                    int(part["PartNumber"]): str(part["ETag"])
                    for page in pages
                    for part in page.get("Parts", ())
                }
            except ClientError as error:
                if _code(error) in ABSENT | {"NoSuchUpload"}:
                    return None
                raise

    def send(self, path: str, upload: str, content: Content, part: int, over: str | None) -> str:
        """Send the parts that are not there yet, and finish the upload; return its ETag."""
        there = self.parts(path, upload) or {}
        tags: list[dict[str, Any]] = []
        left, whole = content.size, hashlib.sha256()
        while left:
            body = content.file.read(min(part, left))
            if self._stop.is_set():
                raise Stopped
            if not body:
                raise EngineError("it became shorter while it was read; run the same command again")
            number, left = len(tags) + 1, left - len(body)
            whole.update(body)
            known = hashlib.md5(body, usedforsecurity=False).hexdigest()
            if there.get(number, "").strip('"') != known:
                there[number] = self._send_part(path, upload, number, body)
            tags.append({"ETag": there[number], "PartNumber": number})
        if whole.hexdigest() != content.sha256:
            raise EngineError("it changed while it was read; run the same command again")
        with self._told("write"):
            done = self._conditionally(
                self._client.complete_multipart_upload,
                path,
                over,
                UploadId=upload,
                MultipartUpload={"Parts": tags},
            )
        return str(done["ETag"])

    def _send_part(self, path: str, upload: str, number: int, body: bytes) -> str:
        with self._told("write"):
            sent = self._client.upload_part(
                **self._named(path),
                UploadId=upload,
                PartNumber=number,
                Body=body,
                ContentMD5=_md5(body),
            )
        return str(sent["ETag"])

    def give_up(self, path: str, upload: str) -> None:
        """Remove the parts of an upload that nobody will finish."""
        from botocore.exceptions import ClientError

        with self._told("write"):
            try:
                self._client.abort_multipart_upload(**self._named(path), UploadId=upload)
            except ClientError as error:
                if _code(error) not in ABSENT | {"NoSuchUpload"}:
                    raise

    def remove(self, path: str, etag: str) -> None:
        """Remove an object, if it is still the version that was looked at."""
        found = self.look(path)
        if found is None:
            return
        if found.etag != etag:
            raise Overtaken("somebody else has just written it to the bucket; not removed")
        with self._told("remove from"):
            self._client.delete_object(**self._named(path))

    def _conditionally(self, call: Any, path: str, over: str | None, **options: Any) -> Any:
        """Call, on condition that nobody else has written this key since it was looked at.

        A store that does not know conditions is asked right before instead.
        """
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if over is None else {"IfMatch": over}
        if self.conditional:
            try:
                return call(**self._named(path), **options, **condition)
            except ClientError as error:
                if _code(error) not in ("NotImplemented", "501"):
                    raise
                self.conditional = False
        now = self.look(path)
        if (now.etag if now else None) != over:
            raise Overtaken("somebody else has just written it to the bucket")
        return call(**self._named(path), **options)

    def _named(self, path: str) -> dict[str, str]:
        return {"Bucket": self.destination.bucket, "Key": f"{self.destination.prefix}{path}"}

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """Turn what boto3 raises into one sentence."""
        from botocore import exceptions as wrong
        from urllib3.exceptions import HTTPError

        try:
            yield
        except wrong.ClientError as error:
            raise self._answered(error, verb) from None
        except (wrong.NoCredentialsError, wrong.PartialCredentialsError):
            raise Broken(
                "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
                " or AWS_PROFILE"
            ) from None
        except (wrong.CredentialRetrievalError, wrong.ProfileNotFound, wrong.SSOError) as error:
            raise Broken(f"the AWS credentials cannot be had: {error}") from None
        except (wrong.HTTPClientError, wrong.ConnectionError, HTTPError, OSError) as error:
            where = self.destination.endpoint or "S3"
            kind = type(error).__name__
            message = f"{where} cannot be reached, or broke off ({kind}); is it up?"
            raise Broken(message) from None
        except (wrong.BotoCoreError, ValueError) as error:
            raise Broken(f"S3 cannot be used: {error}") from None

    def _answered(self, error: Any, verb: str) -> EngineError:
        """Return what an answer of S3's that is no success means."""
        code, bucket = _code(error), self.destination.bucket
        if code in REFUSED:
            return Overtaken("somebody else has just written it to the bucket")
        if code == "NoSuchBucket":
            where = f" at {self.destination.endpoint}" if self.destination.endpoint else ""
            return Broken(f"there is no bucket {bucket}{where}")
        if code in CREDENTIALS:
            return Broken(
                f"S3 does not accept these credentials ({code}): look at AWS_ACCESS_KEY_ID,"
                " AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
            )
        if code in FORBIDDEN:
            return Broken(f"these credentials may not {verb} {self.destination} ({code})")
        if code in ELSEWHERE:
            return Broken(f"bucket {bucket} is in another region: set AWS_REGION ({code})")
        if code in ABSENT:
            return Overtaken("somebody else has just removed it from the bucket")
        said = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
        return Broken(f"S3 could not {verb} {self.destination}: {code} {said}".rstrip())


def part_bytes(size: int) -> int:
    """Return how large the parts of a file are sent.

    Examples
    --------
    >>> part_bytes(10**9) == PART_BYTES, part_bytes(10**12) > PART_BYTES
    (True, True)
    """
    return max(PART_BYTES, -(-size // PARTS_MAX))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "no reason given"))


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()

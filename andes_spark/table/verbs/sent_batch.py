"""A batch as it was sent, and its comparison with the batches of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from andes_spark.batch.parts import Part
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.replay import digest_as
from andes_spark.errors import BatchConflictError
from andes_spark.law.hashing.digest import Digest
from andes_spark.log.mod_files import read_entry
from andes_spark.model.manifest import Batch, Counts, Manifest, salted_digest
from andes_spark.model.mod import BatchId
from andes_spark.schema.versions import SchemaVersions
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class SentBatch:
    """Identity, content and balance of a batch that is not committed yet.

    Attributes:
        batch_id: id of the batch, if it has one.
        plan: plan of the batch.
        counts: number of rows of the batch.
        digest: digest of its mods.
        mods: returns its mods, for a comparison under an earlier schema.
    """

    batch_id: BatchId | None
    plan: BatchPlan
    counts: Counts
    digest: Digest
    mods: Callable[[], Iterable[pa.Table]]

    @classmethod
    def of_part(cls, batch_id: BatchId | None, plan: BatchPlan, part: Part, storage: Storage) -> SentBatch:
        """Return the batch whose mods are in the files of a part."""

        def mods() -> Iterable[pa.Table]:
            return (read_entry(storage, entry, table=plan.table) for entry in part.mods)

        return cls(batch_id, plan, part.counts, part.digest, mods)

    def stored(self, number: int = 0) -> tuple[Batch, ...]:
        """Return the entry of the manifest that commits the batch as number ``number``; none without an id."""
        if self.batch_id is None:
            return ()
        entry = Batch(
            source=self.batch_id.source,
            id=self.batch_id.tagged,
            digest=self.digest.hexdigest(),
            schema_id=self.plan.version.id,
            counts=self.counts,
            number=number,
        )
        return (entry,)

    def in_version(self, manifest: Manifest | None, schemas: SchemaVersions) -> Batch | None:
        """Return the batch of a version with the same id; None if there is none.

        Raises:
            BatchConflictError: it has other content.
        """
        if manifest is None or self.batch_id is None:
            return None
        applied = manifest.batch(self.batch_id.source, self.batch_id.tagged)
        if applied is None:
            return None
        if (
            self._has_content(applied, manifest.commit_id, schemas)
            and applied.counts.quarantined == self.counts.quarantined
        ):
            return applied
        batch_id = self.batch_id
        raise BatchConflictError(
            f"{self.plan.table}: batch ({batch_id.source!r}, {batch_id.id!r}) was applied as version "
            f"{manifest.version} with other content, more or fewer bad mods, or another strict_replay; give new "
            "content a new id, and send the same batch with the same options",
            table=self.plan.table,
            version=manifest.version,
            batch_id=batch_id,
        )

    def _has_content(self, applied: Batch, commit_id: str, schemas: SchemaVersions) -> bool:
        """Whether a batch has the digest of this one, computed over the columns of its schema."""
        digest: Digest | None = self.digest
        if applied.schema_id != self.plan.version.id:
            digest = digest_as(self.mods(), self.plan, schemas, applied.schema_id)
        if digest is None:
            return False
        return applied.digest in (digest.hexdigest(), salted_digest(digest.hexdigest(), commit_id))

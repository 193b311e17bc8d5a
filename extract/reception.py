"""Takes encoded batches from the workers of an extraction, and passes them on to be written."""

import time

from losa.cache_format.common.progress import ProgressBar
from losa.cache_format.common.units import readable
from losa.extract.departed import with_departed
from losa.extract.extraction_tasks import Encoded
from losa.extract.forward_pass import ForwardPass
from losa.extract.shard_thread import ShardThread
from losa.extract.stages import StageClock


class Reception:
    """Counts what arrives, reports it, and shows the progress.

    Attributes:
        invalid: number of invalid images so far.
        turned: number of images so far whose EXIF data have an orientation other than upright.
    """

    def __init__(self, forward: ForwardPass, thread: ShardThread, bar: ProgressBar) -> None:
        """Start to count the time.

        Args:
            forward: judges invalid images, and reports the warnings of the decoders.
            thread: writes the shards.
            bar: counts images.
        """
        self.invalid = self.turned = 0
        self._forward = forward
        self._thread = thread
        self._bar = bar
        self._bytes = 0
        self._clock = StageClock()
        self._start = time.perf_counter()

    def take(self, _item: int, encoded: Encoded) -> None:
        """Take batches, which are the next ones of their shard.

        Raises:
            InvalidImage: an image is invalid, and on_error=fail.
        """
        self._clock.add(encoded.seconds)
        for batch in encoded.batches:
            self.invalid += self._forward.count_invalid(batch.outcomes)
            self._forward.report_warnings(batch.warnings)
            self.turned += batch.turned
            self._bytes += batch.codes.nbytes
            self._thread.put(with_departed(batch))
            self._clock.lap("disk")
            speed = readable(self._bytes / (time.perf_counter() - self._start))
            self._bar.set_postfix_str(f"{speed}/s, bottleneck: {self._clock.bottleneck}", refresh=False)
            self._bar.update(len(batch.rows.keys))

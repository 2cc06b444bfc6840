import hashlib
import time

from pydantic import BaseModel

from planner.space.types import Cost, Measurement, Reading, Status


class HashRunner:
    """Times hashing `batch_size` messages of `input_len` KiB."""
    class Config(BaseModel, extra="forbid"):      # the study file's `runner:` section
        algorithm: str = "sha256"
    trajectory_axis = None                        # a run measures its own point only
    def __init__(self, config, context):
        self.config = config
    def accelerators(self, point):
        return 1.0
    def fingerprint(self):                        # what must not change within a study
        return {"runner": "acme-hash", "algorithm": self.config.algorithm}
    def measure(self, proposal):
        message, begin = bytes(1024 * proposal.point["input_len"]), time.perf_counter()
        try:
            for _ in range(proposal.point["batch_size"]):
                hashlib.new(self.config.algorithm, message)
        except ValueError as error:               # a failed run has a reason and a cost, and no numbers
            return Measurement(Status.FAILED, Cost(measure_s=time.perf_counter() - begin), reason=str(error))
        seconds = time.perf_counter() - begin
        reading = Reading(proposal.point, {"e2el_ms": (1000 * seconds,)}, seconds)
        return Measurement(Status.OK, Cost(measure_s=seconds), (reading,))
    def close(self): pass

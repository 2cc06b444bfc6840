from planner.importers.rows import Provenance, Row, content_identity, number, parse_json, positive_count, read_bytes
from planner.space.types import StudyError


class AcmeLog:
    """Lines like: ACME {"isl": 8, "bs": 2, "p50_s": 0.0012, "runs": 3}"""
    def recognises(self, source):
        return source.head.startswith("ACME {")
    def read(self, path, name, known, renames):
        data, digest = read_bytes(path)
        rows = [_row(line, Provenance(name, digest, "acme-log", f"line {count}"))
                for count, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1)]
        if not rows:
            raise StudyError(f"{name}: is empty; name what acme printed")
        return rows


def _row(line, place):
    result = parse_json(line.removeprefix("ACME ").encode(), place.where)
    if not isinstance(result, dict):
        raise StudyError(f"{place.where}: is no result of acme; leave the line out")
    seconds = number(result.get("p50_s"), place.where, "p50_s")          # or StudyError, which names file and line
    runs = positive_count(result.get("runs"), place.where, "runs")
    fields = {ours: positive_count(result.get(theirs), place.where, theirs)
              for ours, theirs in (("input_len", "isl"), ("batch_size", "bs"))}
    identity = content_identity([place.row, result])                     # the same file twice adds nothing
    provenance = Provenance(place.file, place.sha256, place.format, place.row, identity=identity)
    return Row(fields, {"e2el_ms": (1000 * seconds,)}, seconds * runs, provenance)

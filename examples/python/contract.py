"""The contract, as Python: importing this module makes `waypost.v1` and the payload packages importable.

The code is generated from `proto/` by grpcio-tools into `generated/`, again whenever a .proto file is newer.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"
GENERATED = HERE / "generated"


def generate() -> None:
    """Generates the code, unless it is there and up to date."""
    sources = sorted(PROTO.rglob("*.proto"))
    stamp = GENERATED / "stamp"
    if stamp.exists() and all(source.stat().st_mtime <= stamp.stat().st_mtime for source in sources):
        return
    from grpc_tools import protoc

    GENERATED.mkdir(exist_ok=True)
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    folders = [f"-I{PROTO}", f"-I{well_known}", f"--python_out={GENERATED}", f"--grpc_python_out={GENERATED}"]
    if protoc.main(["protoc", *folders, *(str(source.relative_to(PROTO)) for source in sources)]) != 0:
        sys.exit(f"{PROTO} could not be compiled; see the messages above")
    stamp.touch()


generate()
sys.path.insert(0, str(GENERATED))

"""What the disk commands print."""

from overland.cli.copycomputer import CopyComputer
from overland.diskprep import status as watching
from overland.diskprep import submit as submission
from overland.diskprep.record import Preparation

__all__ = ["prepared", "prepared_text", "shipped_text", "status_text"]


def prepared(done: Preparation, computer: CopyComputer) -> dict[str, object]:
    """Return what disk preparation did, for `--json`."""
    job = done.job
    assert job is not None, "the job was created"
    return {
        "job": done.job_name,
        "job_id": job.arm_id,
        "seed_id": done.seed_id,
        "location": job.location,
        "ship_to": job.ship_to,
        "carriers": job.carriers,
        "drives": [
            {
                "serial": drive.serial,
                "path": drive.path,
                "sequence": drive.sequence,
                "objects": drive.object_count,
                "bytes": drive.object_bytes,
                "manifest_hash": drive.manifest_hash,
            }
            for drive in done.sealed()
        ],
        "objects": done.object_count,
        "bytes": done.object_bytes,
        "record": str(computer.folder / done.folder),
    }


def prepared_text(done: Preparation, computer: CopyComputer) -> str:
    """Return the packing list with the datacenter's address, and where it is stored (R85)."""
    return (
        f"{submission.packing_list(done)}\n"
        f"The packing list and the record are in {computer.folder / done.folder}\n"
        "Next: hand the parcel to the carrier, then run `overland disk ship`."
    )


def shipped_text(done: Preparation, computer: CopyComputer) -> str:
    """Return that the parcel is on its way, and where the entries are stored (R98)."""
    form = done.form()
    return (
        f"import job {done.job_name} is on its way with {form.carrier}, "
        f"number {form.tracking_number}\n"
        f"stored in {computer.folder / done.folder / 'record.json'}"
    )


def status_text(found: watching.JobStatus) -> str:
    """Return what is known of a job, and what has to happen next."""
    head = {
        "no-such-job": "there is no such job",
        "unreachable": f"the service cannot be reached: {found.detail}",
        "not-authorised": f"not authorised: {found.detail}",
    }.get(found.answer, found.state)
    percent = "" if found.percent_complete is None else f", {found.percent_complete} %"
    lines = [f"import job {found.job_name}: {head}{percent}"]
    for drive in found.drives:
        done = "" if drive.percent_complete is None else f", {drive.percent_complete} %"
        lines.append(f"  drive {drive.serial}: {drive.state or drive.prepared}{done}")
    step = found.next_step
    by = "" if step.by is None else f", by {step.by:%Y-%m-%d}"
    urgent = " - little time is left" if step.is_urgent else ""
    urgent = " - OVERDUE: the drives may not be processed" if step.is_overdue else urgent
    lines.append(f"  next: {step.who}: {step.what}{by}{urgent}")
    return "\n".join(lines)

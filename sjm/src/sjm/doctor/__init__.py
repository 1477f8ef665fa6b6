"""Says what is wrong with a stage, and what to do. Needs the extra: ``serverless-job-manager[client]``."""

from sjm.doctor.examination import examine
from sjm.doctor.findings import Finding

__all__ = ["Finding", "examine"]

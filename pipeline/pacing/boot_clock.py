"""The clock that processes of one machine share."""

from pipeline.store.on_files.boot_clock import Moment as Moment
from pipeline.store.on_files.boot_clock import age_s as age_s

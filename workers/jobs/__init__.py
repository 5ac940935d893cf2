"""The data types of a job, without any access to storage."""

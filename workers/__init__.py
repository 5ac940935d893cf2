"""Jobs: their states and store, the work queue, the Celery app and the pipeline."""

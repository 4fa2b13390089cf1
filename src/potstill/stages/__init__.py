"""What a run does in each stage, with what the job has opened for it."""

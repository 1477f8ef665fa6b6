"""What the functions share: the jobs, the executions, and the words in which they are described."""

"""Code that runs only on your machine: the emulated stage, the demo, the sample service."""

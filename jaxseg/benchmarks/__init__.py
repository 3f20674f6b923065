"""What ``python -m jaxseg.benchmark`` measures: single operations and whole train steps, beside plain ``lax`` and PyTorch."""

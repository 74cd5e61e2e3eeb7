"""Released weights: for each model a safetensors file and a JSON file that describes it; see `models.checkpoint`."""

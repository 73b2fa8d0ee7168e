"""configuration.json: the shipped defaults, the file of a model folder, and the names its types have."""

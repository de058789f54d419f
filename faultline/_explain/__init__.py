"""What errors of the network mean: the texts that `faultline explain`, `faultline probe` and `docs/errors.md` share."""

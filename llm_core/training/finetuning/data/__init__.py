"""The default rows of each finetuning method, made from the World Factbook."""

"""Marks in what a model writes: keys, schemes, marking while decoding, finding with exact p-values.

Keys, schemes and detection of token ids need numpy and scipy only. `marking` and `processor`,
which touch logits, need torch.
"""

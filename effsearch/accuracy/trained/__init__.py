"""What trained networks of this space say about accuracy scores.

`networks` reads the table of trained networks, `agreement` compares rankings, `encoding` describes
a network to a predictor, `joint` joins the trained networks with the published ImageNet estimate,
`predictors` are its rivals, `crossval` judges all of them on networks left out.
"""

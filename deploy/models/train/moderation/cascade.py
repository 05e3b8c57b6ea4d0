"""Would a fast n-gram model in front of the encoder save time without loss? Prints why not.

A logistic regression on hashed character n-grams for each category would have to recognise texts that the encoder need not read. Its
cuts are set where a share of the texts that the encoder flags is kept, category by category; a text is skipped if it is
below all of them. On the test rows: how many harmless texts are skipped, how many flagged ones are lost.
"""

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

import corpora
from calibrate import calibrate
from corpora import CATEGORIES
from encoder import Encoder
from evaluate import OUT_OF_FOLD, WEIGHTS
from labels import balanced, targets
from options import arguments

FEATURES, LONGEST = 2**19, 1500
KEPT = (1.0, 0.999, 0.995, 0.99, 0.98)
HEAVIEST = 100.0


def n_gram_logits(seen: list[corpora.Row], others: list[list[corpora.Row]]) -> list[np.ndarray]:
    """Of the other rows, by models of the seen ones."""
    hashed = HashingVectorizer(analyzer="char", ngram_range=(1, 4), n_features=FEATURES, alternate_sign=False, binary=True)
    features = [hashed.transform([row.text[:LONGEST] for row in rows]) for rows in (seen, *others)]
    scaled = TfidfTransformer().fit(features[0])
    train, *rest = (scaled.transform(part) for part in features)
    labels, weights = targets(seen)
    weights = balanced(labels, weights, HEAVIEST)
    found = [np.zeros((len(rows), len(CATEGORIES))) for rows in others]
    for column in range(len(CATEGORIES)):
        known = weights[:, column] > 0
        model = LogisticRegression(C=10, solver="liblinear")
        model.fit(train[known], labels[known, column], sample_weight=weights[known, column] / weights[known, column].mean())
        for logits, part in zip(found, rest):
            logits[:, column] = model.decision_function(part)
    return found


def main() -> None:
    options = arguments(__doc__).parse_args()
    both = corpora.load(options.data, options.cache)
    with np.load(OUT_OF_FOLD) as stored:
        places, logits, apart = stored["places"], stored["logits"].astype(np.float32), stored["fold"] < 0
    scores = calibrate([both.train[place] for place in places], logits).scores(logits[apart])
    kept_back = set(places[apart])
    seen = [row for place, row in enumerate(both.train) if place not in kept_back]
    fast, test = n_gram_logits(seen, [[both.train[place] for place in places[apart]], both.test])
    test_scores = Encoder(options.encoder, options.cache).score((WEIGHTS / "model.onnx").read_bytes(), [row.text for row in both.test])
    flagged, test_flagged = scores >= 0.5, (test_scores >= 0.5).any(axis=1)
    harmless = np.array([not any(row.labels.values()) for row in both.test])
    for kept in KEPT:
        # A category that the encoder flags nowhere here holds nothing back.
        cuts = [np.quantile(fast[marks, column], 1 - kept) if marks.any() else np.inf for column, marks in enumerate(flagged.T)]
        skipped = (test < cuts).all(axis=1)
        print(f"kept {kept:.1%} of flagged texts: skips {skipped[harmless].mean():.1%} of harmless ones, loses {skipped[test_flagged].mean():.2%} of flagged ones")


if __name__ == "__main__":
    main()

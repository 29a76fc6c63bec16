from effsearch.report.held_out_error import error_text


def test_both_kinds_of_error_are_put_in_words():
    latency = {
        "networks": 53,
        "median_error_percent": [7.0, 5.2, 7.8],
        "spearman": [0.97, 0.95, 0.98],
    }
    text = error_text({"leave_network_out": latency})
    assert "median 7.0 % (5.2 to 7.8)" in text
    assert "53 networks" in text
    score = {"networks": 16, "rmse": 0.721, "kendall_tau": 0.962}
    assert "RMSE 0.72" in error_text({"leave_one_network_out": score})
    text = error_text({"validation_images": 500})
    assert text == "that of drawing 500 validation images"
    ranking = [{"how": "so", "networks": 30, "kendall_tau": {"over_all": [0.1, -0.2, 0.4]}}]
    text = error_text({"validation_images": 500, "ranking": ranking})
    assert text.endswith("trained alone: 0.10 (-0.20 to 0.40) with 30, so")
    assert error_text({}) == "not stated"

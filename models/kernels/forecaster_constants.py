"""What a compiled forecaster has to know of the numbers: the constants of the parts' own modules, and the settings."""

from __future__ import annotations

from models import anomaly, intervals, scaling, season
from models import forecaster as whole
from models.cells.activations import SATURATED_SLOPE
from models.cells.complex_units import DECAY_MIN, LOG_MAX
from models.drift import challenger, cusum, watch
from models.experts.cell_updates import ByFilter, ByGradient
from models.experts.linear import HASTY_FORGETTING
from models.experts.recurrent import HASTY_RATE, INFLUENCE_CEILING, Recurrent
from models.forecaster import Forecaster
from models.kernels.forecaster_parts import Constants
from models.mixtures import polynomial
from models.optimizers import rls
from models.optimizers.adam import Adam
from models.optimizers.ekf import Ekf
from models.optimizers.sgd import Sgd
from models.optimizers.transforms import ClipByGlobalNorm, FiniteGuard


def constants_of(forecaster: Forecaster, recurrent: Recurrent | None) -> Constants:
    """Return the constants of the parts' modules, and the settings."""
    update = recurrent.cell_update if recurrent else None
    descent = update.chain if isinstance(update, ByGradient) else None
    last, guard, clip = (descent.part(name) if descent else None for name in ("last", "guard", "clip"))
    ekf = update.filter if isinstance(update, ByFilter) and isinstance(update.filter, Ekf) else Ekf()
    adam = last if isinstance(last, Adam) else Adam(learning_rate=0.0)
    return Constants(
        scale_span=scaling.SPAN_EVENTS,
        winsor=scaling.WINSOR_SCALES,
        feature_winsor=scaling.FEATURE_WINSOR_DEVIATIONS,
        range_margin=scaling.RANGE_MARGIN,
        tiny=scaling.TINY,
        day=season.DAY_SECONDS,
        hour=season.HOUR_SECONDS,
        week_days=float(season.WEEK_DAYS),
        tolerance=season.TOLERANCE,
        votes_min=season.VOTES_MIN,
        votes_max=season.VOTES_MAX,
        mixture_keep=polynomial.KEEP,
        optimism=polynomial.OPTIMISM,
        mixture_span=polynomial.LOSS_SPAN_EVENTS,
        regret_max=polynomial.REGRET_MAX,
        negligible=polynomial.NEGLIGIBLE,
        interval_spread_span=intervals.SPREAD_SPAN_EVENTS,
        interval_size_span=forecaster.interval.span,
        interval_winsor=intervals.WINSOR,
        interval_spread_share=forecaster.interval.share,
        interval_step=forecaster.interval.step,
        interval_across=forecaster.interval.across,
        interval_quantile_max=intervals.QUANTILE_MAX,
        bins=anomaly.BINS,
        log_lowest=anomaly.LOG10_LOWEST,
        log_highest=anomaly.LOG10_HIGHEST,
        anomaly_span=anomaly.SPAN_EVENTS,
        anomaly_early=anomaly.EARLY,
        anomaly_surprise_events=anomaly.SURPRISE_EVENTS,
        anomaly_lean_events=anomaly.LEAN_EVENTS,
        anomaly_winsor=anomaly.WINSOR,
        anomaly_range_growth=anomaly.RANGE_GROWTH,
        anomaly_negligible=anomaly.NEGLIGIBLE,
        anomaly_tail_share=anomaly.TAIL_SHARE,
        anomaly_surprise_max=anomaly.SURPRISE_MAX,
        anomaly_hold=anomaly.HOLD_EVENTS,
        anomaly_prior=anomaly.PRIOR_EVENTS,
        cusum_mean=cusum.MEAN,
        cusum_delta=cusum.DELTA,
        cusum_threshold=cusum.THRESHOLD,
        watch_seen_min=watch.SEEN_MIN,
        watch_span=scaling.SPAN_EVENTS,
        watch_value_max=watch.VALUE_MAX,
        watch_held=forecaster.watch.held,
        watch_missed=forecaster.watch.missed,
        hasty_forgetting=HASTY_FORGETTING,
        hasty_rate=HASTY_RATE,
        challenge_events=challenger.EVENTS,
        challenge_judged=challenger.JUDGED,
        challenge_better=challenger.BETTER,
        outlier_spreads=whole.OUTLIER_SPREADS,
        fault_clean=forecaster.faults.clean,
        residual_span=whole.RESIDUAL_SPAN_EVENTS,
        residual_winsor=whole.RESIDUAL_WINSOR,
        trace_ceiling=rls.TRACE_CEILING,
        log_max=LOG_MAX,
        decay_min=DECAY_MIN,
        saturated_slope=SATURATED_SLOPE,
        influence_ceiling=INFLUENCE_CEILING,
        guard_max=guard.norm_max if isinstance(guard, FiniteGuard) else 0.0,
        clip_max=clip.norm_max if isinstance(clip, ClipByGlobalNorm) else 0.0,
        learning_rate=last.learning_rate if isinstance(last, Sgd | Adam) else 0.0,
        beta1=adam.beta1,
        beta2=adam.beta2,
        epsilon=adam.epsilon,
        process_noise=ekf.process_noise,
        trace_max=ekf.trace_max,
        gate=ekf.gate,
        memory=ekf.memory,
    )

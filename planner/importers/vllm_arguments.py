"""Names of vLLM's arguments that are settings of an engine or a workload. Data only.

Source, by vLLM's version: the fields of AsyncEngineArgs (vllm/engine/arg_utils.py) of 0.5, 0.6, 0.9 and 0.32; the
arguments of `vllm bench serve`, `latency` and `throughput` (vllm/benchmarks/*.py of 0.32) and of
benchmarks/benchmark_serving.py of 2024; those of the Rust client `vllm-bench` 0.1 (src/cli.rs, src/output/json.rs).

Left out is what changes no measurement: addresses, paths of output, names, logs, seeds, numbers of requests.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ARGUMENTS", "ASIDE"]

_ENGINE: Final = """
    additional_config all2all_backend allow_deprecated_quantization async_scheduling attention_backend
    attention_config aux_output_config block_size code_revision compilation_config config_format convert
    cp_kv_cache_interleave_size cpu_distributed_timeout_seconds cpu_offload_gb cpu_offload_params
    cudagraph_capture_sizes data_parallel_backend data_parallel_external_lb data_parallel_hybrid_lb
    data_parallel_multi_port_external_lb data_parallel_size data_parallel_size_local dbo_decode_token_threshold
    dbo_prefill_token_threshold dcp_comm_backend dcp_kv_cache_interleave_size dcp_q_replicate
    decode_context_parallel_size default_mm_loras diffusion_config disable_cascade_attn disable_chunked_mm_input
    disable_custom_all_reduce disable_hybrid_kv_cache_manager disable_nccl_for_dp_synchronization
    disable_sliding_window distributed_executor_backend distributed_timeout_seconds dp_sync_interval dtype
    ec_manager_config ec_transfer_config elastic_ep_max_dp_size enable_batch_sharded_sampling enable_chunked_prefill
    enable_cumem_allocator enable_dbo enable_elastic_ep enable_ep_weight_filter enable_eplb enable_expert_parallel
    enable_fault_tolerance enable_flashinfer_autotune enable_hc_sp enable_lora
    enable_mamba_cache_stochastic_rounding enable_mamba_shared_prefix_checkpoint enable_mixed_moe_lora_format
    enable_mm_embeds enable_moe_shared_loras enable_nccl_comm_suspend enable_prefix_caching enable_prompt_embeds
    enable_return_routed_experts enable_shm_tensor_arena enable_sleep_mode enable_tower_connector_lora
    enable_trace_replay enforce_eager engram_config eplb_config expert_placement_strategy fault_tolerance_config
    fully_sharded_loras gdn_prefill_backend generation_config gpu_memory_utilization hf_config_path hf_overrides
    ignore_patterns interleave_mm_strings io_processor_plugin ir_op_priority kda_decode_backend kda_prefill_backend
    kernel_config kv_cache_dtype kv_cache_dtype_skip_layers kv_cache_memory_bytes kv_events_config
    kv_offloading_backend kv_offloading_size kv_sharing_fast_prefill kv_transfer_config language_model_only
    limit_mm_per_prompt linear_backend load_format logits_processors logprobs_mode long_prefill_token_threshold
    long_prefill_token_threshold_adaptive lora_dtype lora_target_modules mamba_backend mamba_block_size
    mamba_cache_dtype mamba_cache_mode mamba_cache_philox_rounds mamba_config mamba_ssm_cache_dtype
    mamba_ssu_algorithm max_cpu_loras max_cudagraph_capture_size max_logprobs max_lora_cls_labels max_lora_rank
    max_loras max_model_len max_num_active_seqs max_num_batched_tokens max_num_queued_reqs max_num_queued_tokens
    max_num_scheduled_tokens max_num_seqs max_parallel_loading_workers media_io_kwargs mm_device_do_normalize
    mm_encoder_attn_backend mm_encoder_attn_dtype mm_encoder_fp8_scale_path mm_encoder_only mm_encoder_tp_mode
    mm_hasher_algorithm mm_ipc_gpu_memory_gb mm_processor_cache_gb mm_processor_cache_type mm_processor_device
    mm_processor_kwargs mm_shm_cache_max_object_size_mb mm_tensor_ipc model_class_overrides model_impl
    model_loader_extra_config model_weights moe_backend nnodes num_gpu_blocks_override numa_bind offload_backend
    offload_group_size offload_num_in_group offload_params offload_prefetch_step optimization_level
    override_generation_config performance_mode pipeline_parallel_size pooler_config prefill_context_parallel_size
    prefill_schedule_interval prefix_cache_retention_interval prefix_caching_hash_algo prefix_match_unit
    pt_load_map_location quantization quantization_config reasoning_config reasoning_parser reasoning_parser_plugin
    renderer_num_workers replayssm_buffer_len return_sampling_mask revision runner safetensors_load_strategy
    safetensors_prefetch_block_size safetensors_prefetch_num_threads scheduler_cls scheduler_reserve_full_isl
    scheduling_policy skip_mm_profiling skip_tokenizer_init sleep_mode_offload_cudagraph
    sleep_preserve_parameter_names sparse_indexer_topk_backend spec_method spec_model spec_tokens
    specialize_active_lora speculative_config stream_interval structured_outputs_config swa_bounded_replay
    tensor_parallel_size tokens_only ubatch_size use_fp64_gumbel use_replayssm video_pruning_method
    video_pruning_rate weight_transfer_config worker_cls worker_extension_cls
"""
_ENGINE_BEFORE: Final = """
    chat_template_text_format cuda_graph_sizes device disable_async_output_proc
    disable_logprobs_during_spec_decoding disable_mm_preprocessor_cache enable_lora_bias enable_prompt_adapter
    eplb_log_balancedness eplb_step_interval eplb_window_size guided_decoding_backend
    guided_decoding_disable_fallback long_lora_scaling_factors lora_extra_vocab_size max_context_len_to_capture
    max_long_partial_prefills max_num_partial_prefills max_prompt_adapter_token max_prompt_adapters
    max_seq_len_to_capture multi_step_stream_outputs ngram_prompt_lookup_max ngram_prompt_lookup_min
    num_lookahead_slots num_redundant_experts num_scheduler_steps num_speculative_tokens override_neuron_config
    pooling_norm pooling_softmax pooling_type preemption_mode qlora_adapter_name_or_path quantization_param_path
    rope_scaling rope_theta scheduler_delay_factor spec_decoding_acceptance_method speculative_disable_by_batch_size
    speculative_disable_mqa_scorer speculative_draft_tensor_parallel_size speculative_max_model_len
    speculative_model speculative_model_quantization swap_space task tokenizer_pool_extra_config tokenizer_pool_size
    tokenizer_pool_type typical_acceptance_sampler_posterior_alpha typical_acceptance_sampler_posterior_threshold
    use_v2_block_manager worker_use_ray
"""
_SERVER: Final = """
    api_server_count chat_template disable_frontend_multiprocessing enable_auto_tool_choice tool_call_parser
"""
_BENCHMARK: Final = """
    burstiness max_concurrency model request_rate
    asr_max_audio_len_sec asr_min_audio_len_sec async_engine backend batch_size best_of bfcl_categories
    blazedit_max_distance blazedit_min_distance chat_template_kwargs custom_ensure_client_side_data
    custom_output_len dataset dataset_name dataset_path disable_detokenize disable_shuffle enable_multimodal_chat
    extra_body frequency_penalty goodput hf_enable_torch_compile hf_max_batch_size hf_name hf_output_len hf_split
    hf_subset ignore_eos input_len logprobs lora_assignment lora_modules lora_path min_p no_oversample no_reranker
    no_stream output_len prefix_len prefix_repetition_num_prefixes prefix_repetition_output_len
    prefix_repetition_prefix_len prefix_repetition_suffix_len prequeue_requests presence_penalty probe_request_rate
    ramp_up_end_rps ramp_up_start_rps ramp_up_strategy random_batch_size random_input_len
    random_mm_base_items_per_request random_mm_bucket_config random_mm_limit_mm_per_prompt
    random_mm_num_mm_items_range_ratio random_output_len random_prefix_len random_range_ratio repetition_penalty
    self_timed sharegpt_output_len skip_chat_template sonnet_input_len sonnet_output_len sonnet_prefix_len
    spec_bench_category spec_bench_output_len speed_bench_category speed_bench_dataset_subset speed_bench_output_len
    temperature timed_trace_chunk_hash_size timed_trace_sec_multiplier top_k top_p use_beam_search
"""
_RUST: Final = """
    inter_turn_delay_ms multi_turn_concurrency multi_turn_delay_ms multi_turn_max_turns multi_turn_min_turns
    multi_turn_num_turns multi_turn_prefix_conversation_ratio multi_turn_prefix_global_ratio no_history_accumulation
    per_turn_input_len prefix_conversation_ratio prefix_global_ratio prompt_token_ids random_cache_hit_fraction
    random_cache_ratio turns_per_conversation
"""
ARGUMENTS: Final = frozenset((_ENGINE + _ENGINE_BEFORE + _SERVER + _BENCHMARK + _RUST).split())
"""Arguments that are settings."""

_ASIDE: Final = """
    append_result api_key base_url completed date disable_log_stats disable_tqdm download_dir duration
    enable_log_requests endpoint endpoint_type failed gpu_count header headers host insecure label master_addr
    master_port max_log_len metadata metric_percentiles model_id num_conversations num_gpus num_iters num_iters_warmup
    num_prompts num_requests num_warmups otlp_traces_endpoint output_json percentile_metrics port profile
    ready_check_timeout_sec request_id_prefix result_dir result_filename run_number save_detailed save_result seed
    served_model_name tokenizer tokenizer_id tokenizer_revision _benchmark_name
"""
ASIDE: Final = frozenset(_ASIDE.split())
"""Names in results or among arguments that are never settings."""

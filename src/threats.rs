//! What a gateway is attacked with, what Forebay does about it, and the tests that show it. No code.
//!
//! Whoever can open a connection is taken for an enemy, and so is an origin as far as its bytes go: what it
//! says is checked before it is passed on or stored. Trusted are the config file and its files, the machine,
//! the proxies in `trusted_proxies` (for whose client it is, and nothing else), and who holds `admin.token`.
//!
//! Every test that is named here exists: a test of its own sees to that. `a::b` is the test `b` in
//! `tests/a.rs`, which `cargo test --test all a::b` runs; one that begins with `layers::` is beside the code,
//! and `cargo test --lib` runs it.
//!
//! # What is between two readers of the same bytes
//!
//! The gateway and an origin must not disagree on where a request begins, where it ends, and what it asks
//! for. Where hyper takes what another parser may read differently, the request is refused and its connection
//! closed.
//!
//! | attack | what is done | clause | tests |
//! |---|---|---|---|
//! | smuggling by two lengths, or one that is none | 400, closed | RFC 9112 §6.1, §6.3 | `hostile::framing::lengths`, `hostile::framing::a_length_and_chunked` |
//! | smuggling by obscure codings | 400 or 501, closed | RFC 9112 §6.1, §7 | `hostile::framing::transfer_codings` |
//! | chunk sizes and extensions read in two ways | 400, the origin's request is cut | RFC 9112 §7.1 | `hostile::chunks::chunks_as_they_should_not_be`, `hostile::chunks::chunk_extensions_without_end` |
//! | bare CR, LF, NUL, folded lines, blanks before a colon | 400, or never passed on | RFC 9112 §2.2, §5 | `hostile::fields::lines_and_fields`, `hostile::fields::start_lines` |
//! | several hosts, or one that is none | 400 | RFC 9112 §3.2 | `hostile::target::hosts` |
//! | paths that are read in two ways | normalised once, before all else; or 400 | RFC 3986 §6.2.2 | `hostile::target::paths`, `hostile::target::no_spelling_gets_past_a_guard`, `hostile::target::paths_by_other_rules`, `hostile::target::forms_of_targets` |
//! | parameters (`/admin;x`) for an origin that takes them off | 400 with `path_parameters = "reject"` | RFC 3986 §3.3 | `hostile::target::no_parameter_gets_past_a_guard` |
//! | `Expect`, `Upgrade`, `CONNECT`, what comes behind them | refused, or sent on in one form | RFC 9110 §7.8, §10.1.1 | `hostile::semantics::expectations`, `hostile::semantics::upgrades`, `hostile::semantics::what_follows_on_the_connection` |
//! | a tunnel that is none | only after a 101 that answers the challenge | RFC 6455 §4.1 | `behaviour::forwarding::a_switch_that_answers_no_challenge_is_no_tunnel`, `behaviour::forwarding::an_unasked_switch_is_a_bad_answer` |
//! | HTTP/2 that becomes another HTTP/1.1 | malformed streams are reset | RFC 9113 §8 | `hostile::http2::malformed_fields`, `hostile::http2::malformed_targets`, `hostile::http2::malformed_bodies`, `hostile::blocks::malformed_fields_before_a_cut` |
//! | fragments in paths, pseudo-header fields in trailers | 400, or the stream is reset | RFC 9113 §8.1, §8.3.1 | `hostile::blocks::fragments_in_paths`, `hostile::blocks::pseudo_header_fields_in_trailers` |
//! | field blocks that two decoders read in two ways | the connection ends | RFC 9113 §4.3 | `hostile::blocks::blocks_that_are_not_decoded`, `hostile::blocks::the_connection_goes_on` |
//! | trailers that frame, route or authenticate | 400, the origin's request is cut | RFC 9110 §6.5.1, RFC 9113 §8.1 | `hostile::trailers::what_may_not`, `hostile::trailers::what_may_not_in_http2`, `hostile::trailers::nothing_of_the_kind_passes_between_two_that_speak_http2` |
//! | a body that breaks off | the origin's is never completed | RFC 9112 §8 | `hostile::limits::bodies_that_end_early`, `faults::cache::the_client_breaks_off_after_every_byte` |
//! | any bytes at all | fuzzed, over a connection in memory | | `fuzz::the_corpus_finds_nothing` |
//!
//! # Who says who somebody is
//!
//! | attack | what is done | clause | tests |
//! |---|---|---|---|
//! | forged `X-Forwarded-*`, `Forwarded`, `X-Request-Id` | replaced, unless a trusted proxy says it | RFC 7239 §8.1 | `hostile::semantics::fields_of_one_hop_and_of_a_pretended_proxy`, `hostile::semantics::fields_of_a_trusted_proxy`, `hostile::cache::unkeyed::what_only_a_proxy_may_say_is_not_said_to_the_origin` |
//! | a PROXY header from anybody, a certificate that was not shown | the connection is closed; the field is removed | RFC 9440 §4 | `behaviour::proxy_protocol::nobody_else_may_say_so`, `behaviour::secure::clients_show_certificates`, `behaviour::secure::rules_go_by_certificates` |
//! | `Connection` that names what we add or need | not obeyed | RFC 9110 §7.6.1 | `behaviour::forwarding::hop_by_hop_fields_stay_behind` |
//! | guessing API keys, or naming a consumer | hashed at rest, compared in constant time, one answer for all | | `behaviour::auth::who_has_none_is_told_how_and_the_upstream_is_not_asked`, `behaviour::auth::nobody_else_can_say_who_it_is` |
//! | tokens of others, for others, or for something else | algorithms, issuer, audience, times and `typ` are pinned; keys come from where the config says | RFC 8725 §3.8-3.11 | `layers::auth::tests::tokens::claims_are_enforced`, `behaviour::credentials::a_token_opens_the_route_and_its_claims_are_told`, `behaviour::token_keys::tokens_are_of_the_type_that_is_asked_for`, `behaviour::token_keys::an_issuer_by_https_must_be_the_one` |
//! | made-up names of keys, an issuer that is down | one fetch at a time, seldom; what is known is kept, and without keys nobody gets in | RFC 8725 §3.10 | `behaviour::credentials::without_keys_it_fails_closed`, `behaviour::credentials::keys_are_fetched_once_rotate_and_outlive_an_outage`, `behaviour::token_keys::keys_of_a_url_rotate_and_outlive_an_outage` |
//! | tokens without a signature, signed with another kind of key, or that bring their own | algorithms are pinned to keys; what a token says of keys is not believed | RFC 8725 §3 | `layers::auth::tests::tokens::hostile_tokens`, `layers::auth::tests::tokens::sets_are_read_with_care` |
//! | guessing passwords | argon2, off the event loop, a few at a time; an unknown name takes as long | RFC 7617 §4 | `behaviour::credentials::a_password_opens_the_route`, `behaviour::credentials::a_crowd_with_one_password_is_let_in` |
//! | a service that decides is down, or is asked too often | nobody gets in; what it allowed is remembered for those credentials only | | `behaviour::credentials::a_service_decides_and_its_answer_is_given`, `behaviour::credentials::what_a_service_decided_is_remembered` |
//! | pages of other origins | no grant that the route does not give, none that is stored for another | Fetch §3.2 | `behaviour::cors::preflights_are_answered_here`, `behaviour::cors::a_stored_answer_is_told_to_each_origin_in_its_own_words` |
//! | `https` where there is no TLS, a host that the certificate is not for | 421 | RFC 9110 §7.4 | `hostile::target::forms_of_targets`, `hostile::http2::malformed_targets`, `behaviour::secure::another_host_than_the_certificate_is_for_is_misdirected` |
//! | keys in logs, at the origin | taken out | | `behaviour::auth::a_key_opens_the_route_and_goes_no_further`, `behaviour::auth::a_key_in_the_query_is_seen_by_nobody` |
//! | an admin listener for everybody | does not start without a token, which the API wants; compared in constant time | RFC 6750 §3 | `behaviour::admin::elsewhere_it_does_not_start_without_a_token`, `behaviour::admin::the_api_wants_the_token`, `behaviour::purge::who_may_purge` |
//! | orders that a page has a browser send to it | `Origin`, `Sec-Fetch-Site` and the media type are looked at; GET changes nothing | | `behaviour::admin::pages_of_browsers_change_nothing` |
//! | a name that is made to point to it (DNS rebinding) | without a token, `Host` is an address or `localhost` | | `behaviour::admin::a_name_that_points_here_reads_nothing` |
//! | secrets in pages, metrics, logs and errors | entries are told without values, lines of the config without secrets | | `behaviour::secrets::what_runs_tells_no_secret`, `behaviour::secrets::what_is_wrong_with_a_config_tells_no_secret`, `behaviour::purge::an_entry_is_told_without_its_secrets` |
//!
//! # The cache
//!
//! | attack | what is done | clause | tests |
//! |---|---|---|---|
//! | poisoning by what is not in the key | the key is made of what is forwarded | RFC 9111 §2 | `hostile::cache::unkeyed::the_host`, `hostile::cache::targets::parameters`, `hostile::cache::targets::paths` |
//! | content on GET, methods in disguise, HEAD for GET | passed on, not stored | RFC 9110 §9.3.1 | `hostile::cache::methods::content_on_a_get`, `hostile::cache::methods::methods_in_disguise`, `hostile::cache::methods::head_is_no_get` |
//! | denial of service by stored errors | errors are stored only where something says so | RFC 9111 §4.2.2 | `hostile::cache::errors::errors_that_say_nothing_of_freshness`, `hostile::cache::errors::what_provokes_errors` |
//! | deception: a private answer under a public name | nothing is stored by its name; what is for one client is left alone | RFC 9111 §3.5 | `hostile::cache::targets::names_of_files`, `hostile::cache::storing::responses_for_one_client` |
//! | one consumer's answer for another | consumers are part of the key | RFC 9111 §3.5 | `behaviour::auth::stored_answers_do_not_cross_consumers`, `behaviour::auth::requests_of_two_consumers_are_not_collapsed`, `behaviour::credentials::stored_answers_of_the_unnamed_do_not_cross`, `behaviour::token_keys::stored_answers_do_not_cross_tokens` |
//! | ranges and conditions that shape what others get | never part of a fill | RFC 9111 §3.3 | `hostile::cache::errors::ranges_and_conditions_do_not_shape_a_fill` |
//! | hanging on to somebody who never gets an answer | followers go alone | | `hostile::cache::collapse::nobody_waits_for_ever`, `hostile::cache::collapse::the_first_one_leaves` |
//! | response splitting | the origin's answer is 502, and not stored | RFC 9112 §11.1 | `hostile::cache::splitting::what_comes_behind_a_response`, `hostile::cache::splitting::responses_that_do_not_hold_together` |
//!
//! # Taking all there is
//!
//! | attack | what is done | clause | tests |
//! |---|---|---|---|
//! | slow heads, silence | timed from the first moment | | `hostile::limits::a_head_byte_by_byte`, `hostile::limits::silence`, `behaviour::limits::a_connection_that_says_nothing_is_closed` |
//! | slow bodies | a time between two reads, and a rate | | `behaviour::limits::a_request_body_that_stalls_is_given_up`, `behaviour::connections::a_body_that_trickles_is_given_up` |
//! | slow bodies that keep others from an upstream | a place there goes to who waits for it | | `hostile::uploads::a_stalled_upload_makes_way_for_one_that_waits`, `hostile::uploads::a_trickled_upload_makes_way`, `hostile::uploads::a_crowd_of_stalled_uploads_does_not_close_the_upstream` |
//! | slow readers | a time without progress, and a rate; what waits is bounded | | `behaviour::limits::a_client_that_does_not_read_is_cut`, `behaviour::limits::a_stream_that_is_not_read_is_reset`, `behaviour::connections::a_reader_that_trickles_is_given_up` |
//! | many connections of one client | a cap an address, an IPv6 one by its /64 | | `behaviour::connections::an_address_has_so_many_connections`, `behaviour::proxy_protocol::limits_are_for_the_client_it_names` |
//! | TLS that is never spoken, answers that are never read | timed like slow heads and readers; nothing of it stays | | `hostile::floods::floods_before_http2` |
//! | many connections | a cap in all; idle ones keep next to nothing | | `behaviour::limits::connections_beyond_the_cap_wait`, `behaviour::lifecycle::resting_connections_take_little_memory`, `behaviour::bad_input::without_file_descriptors_it_waits` |
//! | large heads, targets and bodies | 431, 414, 413 | RFC 6585 §5 | `hostile::limits::too_large_heads`, `hostile::limits::too_large_bodies` |
//! | HTTP/2: rapid reset, CONTINUATION, PING, SETTINGS and other floods | the connection ends | RFC 9113 §10.5 | `hostile::floods::a_flood_ends_its_connection_and_nothing_else`, `hostile::floods::rapid_resets`, `hostile::http2::floods`, `hostile::http2::malformed_frames` |
//! | field blocks that grow in memory | 431, or the stream is reset | RFC 9113 §10.5.1 | `hostile::floods::bombs_of_fields`, `hostile::floods::a_field_block_without_end_times_out` |
//! | one request that becomes many | each part of an aggregate is limited like a request; a client that leaves ends all | | `behaviour::aggregate::each_part_is_limited_by_itself`, `behaviour::aggregate::a_client_that_leaves_cancels_all_parts` |
//! | large objects, many at once | one budget for all bodies; beyond it, they pass unstored | | `behaviour::memory::a_stampede_of_large_objects_keeps_to_the_limit` |
//! | too many requests | limits, then a bounded queue, then 503 | RFC 6585 §4 | `behaviour::resilience::a_limit_counts_by_its_key`, `hostile::limits::a_rate_limit_is_not_got_round`, `behaviour::resilience::a_full_queue_sheds`, `behaviour::resilience::a_long_wait_in_the_queue_ends` |
//! | a storm of retries | a budget an upstream | | `behaviour::resilience::the_budget_bounds_retries_when_everything_fails` |
//! | answers that take long to compress | off the event loop, a few at a time; once for what is stored | | `behaviour::compression::a_large_body_holds_nobody_up`, `behaviour::compression::many_at_once_have_one_encoder`, `behaviour::compression::without_memory_nothing_is_encoded` |
//! | decompression bombs | nothing is decompressed | | `hostile::bombs::nobody_unpacks_what_an_origin_has_packed`, `hostile::bombs::nobody_unpacks_keys` |
//!
//! # What an origin may do
//!
//! | fault | what is done | clause | tests |
//! |---|---|---|---|
//! | it breaks off anywhere | never passed on as complete, never stored | RFC 9112 §8 | `faults::a_counted_answer_is_closed_after_every_byte`, `faults::a_chunked_answer_is_reset_after_every_byte`, `behaviour::compression::a_body_that_breaks_off_stays_broken` |
//! | heads that are none, endless interim ones | 502 | RFC 9112 §4 | `faults::matrix::what_comes_of_a_broken_answer`, `faults::matrix_http2::what_comes_of_a_broken_answer` |
//! | bytes that nobody asked for | the connection is not used again | RFC 9112 §9.2 | `faults::matrix_reuse::an_idle_connection_speaks_or_ends`, `faults::a_connection_that_was_closed_is_not_used_again` |
//! | it stands still | given up in time; nothing stays held | | `faults::matrix_origin::it_stands_still` |
//!
//! # What is left to others
//!
//! - **BREACH**: a secret beside what an attacker chooses, compressed together, leaks by its length. Routes
//!   compress only where they say so; [`layers::compress`](crate::layers::compress) says where they should
//!   not.
//! - **Forged requests of browsers**: a gateway does not know which requests change something. The admin API
//!   changes nothing on GET, refuses what a page of another origin asks for, and takes orders only as JSON,
//!   which no form can send.
//! - **What an application does with what it gets**: there is no filter of contents here.
//! - **Floods of packets**: for the kernel and the network.
//! - **Timing of the cache**: a hit is faster than a miss, so who asks learns what others asked for lately.
//!   Keep what must not be known out of shared caches (`private`, or `key.headers`).
